//! An incident's graph in the formats of other tools.

mod graphml;
mod stix;

pub use graphml::graphml;
pub use stix::stix;
