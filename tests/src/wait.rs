//! Waits for a condition, never for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long anything that should happen may take; generous, because only a failing test waits that
/// long. The machine under the test may be emulated by another that is slow itself: there 2,400
/// requests to asyncio once took a minute.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// Asks again until the condition gives a value; an error names what was waited for.
///
/// # Errors
/// When [`DEADLINE`] has passed.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if started.elapsed() > DEADLINE {
            bail!("waited {} s for {what}", DEADLINE.as_secs());
        }
        thread::sleep(Duration::from_millis(2));
    }
}
