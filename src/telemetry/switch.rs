//! The public handle of an instance's switch. Cold.

use crate::instance::Instance;
use crate::switch::{Override, State, Transition};
use std::sync::Arc;
use std::time::Duration;

/// The resilience switch of an instance: its state, the caller's override, and the changes since this value was made.
/// Each value is a subscription of its own.
///
/// ```
/// use tellane::State;
/// let telemetry = tellane::Telemetry::builder("shop").start()?;
/// let mut switch = telemetry.switch();
/// switch.force_off();
/// assert_eq!(switch.state(), State::Off);
/// switch.release();
/// let changes: Vec<_> = std::iter::from_fn(|| switch.next_change()).map(|change| change.to).collect();
/// assert_eq!(changes, [State::Off, State::Healthy]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Switch {
    pub(super) instance: Arc<Instance>,
    /// Changes this subscription has delivered or missed.
    pub(super) seen: u64,
}

impl Switch {
    /// The present state of the switch, with the override applied.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let switch = telemetry.switch();
    /// switch.force_off();
    /// assert_eq!(switch.state(), tellane::State::Off);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state(&self) -> State {
        self.instance.lanes.reclaim_lease();
        self.instance.lanes.switch.position().effective()
    }

    /// The number of changes made so far.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let switch = telemetry.switch();
    /// switch.force_off();
    /// switch.release();
    /// assert_eq!(switch.changes(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn changes(&self) -> u64 {
        self.instance.lanes.switch.changes.made()
    }

    /// Turns recording off until [`release`](Self::release). Counters and gauges go on.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let (orders, sizes) = (telemetry.counter("orders_total").register()?, telemetry.histogram("items").register()?);
    /// telemetry.switch().force_off();
    /// orders.inc();
    /// sizes.record(3);
    /// let snapshot = telemetry.snapshot(std::time::Duration::from_secs(5))?;
    /// assert_eq!(snapshot.counter("orders_total", &[]), Some(1));
    /// assert_eq!(snapshot.ledger().kind(tellane::Kind::Sample).switched_off, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "disable")]
    pub fn force_off(&self) {
        self.force(Override::Off);
    }

    /// Keeps recording on, even if the pipeline is overloaded, until [`release`](Self::release).
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let switch = telemetry.switch();
    /// switch.force_on();
    /// assert_eq!(switch.state(), tellane::State::Healthy);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "enable")]
    pub fn force_on(&self) {
        self.force(Override::On);
    }

    /// Removes the override: the pipeline controls the switch again.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let switch = telemetry.switch();
    /// switch.force_off();
    /// switch.release();
    /// assert_eq!(switch.state(), tellane::State::Healthy);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn release(&self) {
        self.force(Override::None);
    }

    fn force(&self, forced: Override) {
        let lanes = &self.instance.lanes;
        if lanes.is_forked() {
            return;
        }
        lanes.switch.force(forced, lanes.uptime.millis());
        lanes.apply_mode();
    }

    /// Returns the next change that this subscription has not delivered yet; `None` if there is none. If more than 64
    /// changes happened since the last call, the oldest are skipped; [`changes`](Self::changes) counts them all.
    ///
    /// ```
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let mut switch = telemetry.switch();
    /// assert_eq!(switch.next_change(), None);
    /// switch.force_off();
    /// assert_eq!(switch.next_change().map(|change| change.to), Some(tellane::State::Off));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_change(&mut self) -> Option<Transition> {
        self.instance.lanes.switch.changes.next(&mut self.seen)
    }

    /// Waits for the next change; `None` after the timeout. A change may be delivered up to 20 ms late: a producer that
    /// trips the switch makes no system call, not even to wake a subscriber.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let telemetry = tellane::Telemetry::builder("shop").start()?;
    /// let mut switch = telemetry.switch();
    /// assert_eq!(switch.wait_for_change(Duration::from_millis(1)), None);
    /// switch.force_off();
    /// assert!(switch.wait_for_change(Duration::from_secs(1)).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for_change(&mut self, timeout: Duration) -> Option<Transition> {
        const POLL_INTERVAL: Duration = Duration::from_millis(20);
        let mut left = timeout;
        loop {
            if let Some(change) = self.next_change() {
                return Some(change);
            }
            if left.is_zero() {
                return None;
            }
            std::thread::sleep(POLL_INTERVAL.min(left));
            left = left.saturating_sub(POLL_INTERVAL);
        }
    }
}
