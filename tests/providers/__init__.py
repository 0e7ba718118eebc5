"""Tests of ``datafor_token.providers``."""
