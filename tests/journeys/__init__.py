"""Journeys of people through a portal and protected applications, in Chromium behind each shipped proxy."""
