//! Simplified Chinese.

pub(super) mod notice {
    pub(in crate::messages) use crate::messages::en::notice::PHRASES;
}
pub(super) use super::en::{WORDS, explain};
