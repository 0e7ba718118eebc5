"""Tests of embedding, in a real Chromium with two sites over https."""
