//! A switch that only tests can set: every shortcut for what is ordinary stays shut, so that a test can hold it to the careful path
//! beside it.

/// Whether only the careful paths may be taken.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn only() -> bool {
    false
}

#[cfg(test)]
pub(crate) use switch::{only, run};

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    thread_local! {
        static ONLY: Cell<bool> = const { Cell::new(false) };
    }

    pub(crate) fn only() -> bool {
        ONLY.get()
    }

    /// Does this without any shortcut, on this thread.
    pub(crate) fn run<T>(work: impl FnOnce() -> T) -> T {
        ONLY.set(true);
        let result = work();
        ONLY.set(false);
        result
    }
}
