//! Where trades come from.
