//! Names of services as values of a label: bounded, whatever processes start and end.

use std::sync::Arc;

use rustc_hash::FxHashSet;

/// Names that are shown; those met first keep their place for good, so that no series ever ends.
const SHOWN: usize = 32;
/// Bytes of a name.
const LENGTH: usize = 128;
/// The value for all others.
pub(super) const OTHER: &str = "other";

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Services {
    shown: FxHashSet<Arc<str>>,
    other: Arc<str>,
}

impl Default for Services {
    fn default() -> Self {
        Self { shown: FxHashSet::default(), other: OTHER.into() }
    }
}

impl Services {
    /// The label's value for a service.
    pub(super) fn label(&mut self, service: &Arc<str>) -> Arc<str> {
        if let Some(shown) = self.shown.get(service) {
            return Arc::clone(shown);
        }
        if self.shown.len() >= SHOWN || service.len() > LENGTH {
            return Arc::clone(&self.other);
        }
        self.shown.insert(Arc::clone(service));
        Arc::clone(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_services_keep_their_names_and_all_others_share_one() {
        let mut services = Services::default();
        let name = |number: usize| -> Arc<str> { format!("service-{number}").into() };
        for number in 0..1_000 {
            let label = services.label(&name(number));
            let expected = if number < SHOWN { name(number) } else { OTHER.into() };
            assert_eq!(label, expected);
        }
        assert_eq!(services.label(&name(0)), name(0));
        assert_eq!(&*Services::default().label(&"x".repeat(LENGTH + 1).into()), OTHER);
    }
}
