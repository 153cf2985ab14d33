//! The decoder as a whole, on records of our own making.

use std::sync::Arc;

use event::{TenantId, Time};

use super::*;

mod real;
