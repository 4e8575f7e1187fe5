//! Gives memory back to the kernel where much was needed once: the start reads the kernel's type information (BTF), which takes
//! tens of megabytes for some hundred milliseconds.

#![expect(unsafe_code, reason = "the allocator's functions are foreign ones")]

/// Returns the pages of what was freed. By itself the allocator does so when its program next allocates or frees much, which an
/// agent that waits for traffic does not do for hours.
pub(super) fn give_back() {
    // SAFETY: mi_collect takes no pointer, may be called by any thread at any time, and frees only what nobody holds.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
