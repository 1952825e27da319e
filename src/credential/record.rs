//! What is remembered of a credential.
