"""Activity: last uses of applications and users, and counts of each hour."""
