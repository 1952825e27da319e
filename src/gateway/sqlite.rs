//! A gateway reached through its SQLite file.
