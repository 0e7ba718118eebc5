"""Operations on a whole store: declared applications, backups, migration, start."""
