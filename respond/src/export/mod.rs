//! Actions and their audit in the formats of other tools.

mod audit;
mod cacao;
mod openc2;

pub use audit::audit_activity;
pub use cacao::cacao;
