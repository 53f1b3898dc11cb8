"""bnfold"""
