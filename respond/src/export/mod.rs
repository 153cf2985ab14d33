//! Actions in the formats of other tools.

mod cacao;
mod openc2;

pub use cacao::cacao;
