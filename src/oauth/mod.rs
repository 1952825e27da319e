//! Token endpoints: what is asked ([`request`]), what an answer means ([`response`]), and the one HTTP attempt
//! ([`client`]). Only the last touches the network.

pub mod client;
pub mod request;
pub mod response;
