//! The life of one credential: what is remembered of it ([`record`]), what happens to it ([`event`]), and what is
//! to be done ([`policy`]). Pure.

pub mod event;
pub mod policy;
pub mod record;
#[cfg(test)]
pub mod sample;
