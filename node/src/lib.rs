//! The klamm node: it carries and checks bytes around the core, which decides.

pub mod fs;
