//! `#[observed]` with tellane itself.
