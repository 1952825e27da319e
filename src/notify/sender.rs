//! The sending of notices.
