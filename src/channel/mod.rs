//! The life of one channel of a gateway: what it looks like, whose key it holds, what is to be done. Pure.

pub mod ownership;
pub mod policy;
pub mod view;
