//! Gives memory back after the start: reading the kernel's type information (BTF) takes tens of
//! megabytes for some hundred milliseconds.

#![expect(unsafe_code, reason = "the allocator's functions are foreign ones")]

/// Returns freed pages to the kernel. By itself the allocator does so when the program next
/// allocates or frees much, which an agent that waits for traffic does not do for hours.
pub(super) fn give_back() {
    // SAFETY: mi_collect takes no pointer, any thread may run it at any time, and it frees only
    // what nobody holds.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
