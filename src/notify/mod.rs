//! Telling people: what to tell whom and when ([`policy`]), in which service's words ([`services`]), by
//! which way ([`carriers`]), and the sending ([`sender`]). A notifier that is down, slow or hostile never delays a refresh.

pub mod carriers;
pub mod policy;
pub mod sender;
pub mod services;
