"""Verification: are two models numerically the same?"""
