//! Token endpoints: what is asked ([`request`], [`assertion`]), what an answer means ([`response`]), and the one HTTP
//! attempt ([`client`], the only one that touches the network). [`presets`] are the providers
//! that are known; [`login`] and [`import`] get a first refresh token.

pub mod assertion;
pub mod client;
pub mod import;
pub mod login;
pub mod presets;
pub mod request;
pub mod response;
