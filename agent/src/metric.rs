//! What a metric is, and the macro by which a layer declares those that it counts: the metrics page
//! and docs/metrics.md say the same of each, because both are made of these declarations.

/// One metric of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// `wirespan_<thing>_<unit>_total` of a counter; a gauge has no `_total`.
    pub name: &'static str,
    /// What it counts: one sentence.
    pub help: &'static str,
    pub labels: Vec<Label>,
}

/// A label of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub name: &'static str,
    /// Each value with its meaning. Empty: any text, as the name of a service.
    pub values: Vec<(&'static str, &'static str)>,
}

impl Metric {
    pub(crate) const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, labels: Vec::new() }
    }

    /// Adds a label.
    pub(crate) fn by(mut self, name: &'static str, values: &[(&'static str, &'static str)]) -> Self {
        self.labels.push(Label { name, values: values.to_vec() });
        self
    }

    /// Whether it only rises.
    #[must_use]
    pub fn is_counter(&self) -> bool {
        self.name.ends_with("_total")
    }
}

impl Label {
    pub(crate) fn takes(&self, name: &str, value: &str) -> bool {
        self.name == name && (self.values.is_empty() || self.values.iter().any(|(known, _)| *known == value))
    }
}

/// One number of a layer, with the name of its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub name: &'static str,
    /// Label name and value, when the metric has one.
    pub label: Option<(&'static str, &'static str)>,
    pub value: u64,
}

/// Declares a struct `Counters` of numbers, first those that are a metric each, then those that are
/// one value of a metric's label.
macro_rules! counters {
    (
        $(#[doc = $doc:literal])+
        {
            $( $field:ident = $name:literal: $help:literal; )*
            $( $family:literal by $label:literal: $family_help:literal {
                $( $of:ident = $value:literal: $meaning:literal; )+
            } )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $( #[doc = $help] pub $field: u64, )*
            $($( #[doc = $family_help] #[doc = ""] #[doc = $meaning] pub $of: u64, )+)*
        }

        impl Counters {
            /// Every number with its metric, in a fixed order; samples of one metric stand
            /// together.
            pub fn samples(&self) -> impl Iterator<Item = $crate::metric::Sample> + use<> {
                [
                    $( $crate::metric::Sample { name: $name, label: None, value: self.$field }, )*
                    $($( $crate::metric::Sample {
                        name: $family,
                        label: Some(($label, $value)),
                        value: self.$of,
                    }, )+)*
                ]
                .into_iter()
            }

            /// What these metrics are.
            #[must_use]
            pub fn metrics() -> Vec<$crate::metric::Metric> {
                vec![
                    $( $crate::metric::Metric::new($name, $help), )*
                    $( $crate::metric::Metric::new($family, $family_help)
                        .by($label, &[$(($value, $meaning)),+]), )*
                ]
            }
        }
    };
}

pub(crate) use counters;
