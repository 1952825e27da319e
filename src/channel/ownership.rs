//! Whose key a channel holds.
