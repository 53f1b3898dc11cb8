"""Tests of many models at once."""
