//! End-to-end tests of wirespan.
