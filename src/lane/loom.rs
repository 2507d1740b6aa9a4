//! Loom models of the lane.
