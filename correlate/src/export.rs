//! An incident's graph in the formats of other tools.

mod graphml;
mod stix;
mod uuid;

pub use graphml::graphml;
pub use stix::stix;
