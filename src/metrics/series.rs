//! Series with a fixed number of labels that cannot panic.
//!
//! prometheus' own `with_label_values` panics on a wrong number of labels. Here the number is part
//! of the type, given once where the series is registered.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Error, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// Seconds of work on the box: an exec takes 50 to 200 ms there, a command ends after 30 s or more.
pub(super) const BOX_SECONDS: &[f64] =
    &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds of something that mostly answers at once.
pub(super) const QUICK_SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds of something that takes minutes.
pub(super) const SLOW_SECONDS: &[f64] = &[15.0, 30.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0];

/// A number that only grows.
#[derive(Debug, Clone)]
pub struct Counter<const LABELS: usize>(IntCounterVec);

impl<const LABELS: usize> Counter<LABELS> {
    /// One more.
    pub fn inc(&self, labels: [&str; LABELS]) {
        self.add(labels, 1);
    }

    /// `count` more.
    pub fn add(&self, labels: [&str; LABELS], count: u64) {
        if let Ok(series) = self.0.get_metric_with_label_values(&labels) {
            series.inc_by(count);
        }
    }

    /// The present number.
    pub fn get(&self, labels: [&str; LABELS]) -> u64 {
        self.0.get_metric_with_label_values(&labels).map_or(0, |series| series.get())
    }

    /// Makes these series visible at 0, so that an alert has something to compare with.
    pub(super) fn known(self, labels: &[[&str; LABELS]]) -> Self {
        labels.iter().for_each(|labels| self.add(*labels, 0));
        self
    }
}

/// A number that goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge<const LABELS: usize>(GaugeVec);

impl<const LABELS: usize> Gauge<LABELS> {
    /// The number is `value` now.
    pub fn set(&self, labels: [&str; LABELS], value: f64) {
        if let Ok(series) = self.0.get_metric_with_label_values(&labels) {
            series.set(value);
        }
    }

    /// The number is `change` more now, or less.
    pub fn add(&self, labels: [&str; LABELS], change: f64) {
        if let Ok(series) = self.0.get_metric_with_label_values(&labels) {
            series.add(change);
        }
    }

    /// The present number.
    pub fn get(&self, labels: [&str; LABELS]) -> f64 {
        self.0.get_metric_with_label_values(&labels).map_or(0.0, |series| series.get())
    }

    pub(super) fn known(self, labels: &[[&str; LABELS]]) -> Self {
        labels.iter().for_each(|labels| self.add(*labels, 0.0));
        self
    }
}

/// How long something took.
#[derive(Debug, Clone)]
pub struct Took<const LABELS: usize>(HistogramVec);

impl<const LABELS: usize> Took<LABELS> {
    /// It took `time`, once more.
    pub fn observe(&self, labels: [&str; LABELS], time: Duration) {
        if let Ok(series) = self.0.get_metric_with_label_values(&labels) {
            series.observe(time.as_secs_f64());
        }
    }

    /// How often it was observed.
    pub fn count(&self, labels: [&str; LABELS]) -> u64 {
        self.0.get_metric_with_label_values(&labels).map_or(0, |series| series.get_sample_count())
    }

    pub(super) fn known(self, labels: &[[&str; LABELS]]) -> Self {
        for labels in labels {
            // A histogram is visible once it was asked for.
            let _ = self.0.get_metric_with_label_values(labels);
        }
        self
    }
}

/// Makes series and enters them into a registry.
pub(super) struct Register<'a>(pub &'a Registry);

impl Register<'_> {
    pub fn counter<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
    ) -> Result<Counter<N>, Error> {
        let series = IntCounterVec::new(Opts::new(name, help), &labels)?;
        self.enter(&series)?;
        Ok(Counter(series))
    }

    pub fn gauge<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
    ) -> Result<Gauge<N>, Error> {
        let series = GaugeVec::new(Opts::new(name, help), &labels)?;
        self.enter(&series)?;
        Ok(Gauge(series))
    }

    pub fn took<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        buckets: &[f64],
    ) -> Result<Took<N>, Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let series = HistogramVec::new(options, &labels)?;
        self.enter(&series)?;
        Ok(Took(series))
    }

    fn enter(&self, series: &(impl Collector + Clone + 'static)) -> Result<(), Error> {
        self.0.register(Box::new(series.clone()))
    }
}
