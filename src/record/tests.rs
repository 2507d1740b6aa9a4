//! Golden vectors and the round trip.
