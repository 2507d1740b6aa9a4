//! Settings from OpenTelemetry's environment variables: sampling and span limits. Cold: read once, at the start.

use super::Config;
use crate::error::ConfigFault;

impl Config {
    /// Applies OpenTelemetry's environment variables for sampling and span limits. `get` looks a variable up; an empty
    /// variable counts as not set. A variable that cannot be used changes nothing, and a fault for it is returned.
    ///
    /// - Sampling: `OTEL_TRACES_SAMPLER` with `OTEL_TRACES_SAMPLER_ARG` (`always_on`, `always_off`, `traceidratio`, and
    ///   these three prefixed with `parentbased_`).
    /// - Counts: `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT` and `OTEL_ATTRIBUTE_COUNT_LIMIT`, `OTEL_SPAN_EVENT_COUNT_LIMIT`,
    ///   `OTEL_SPAN_LINK_COUNT_LIMIT`, `OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT`, `OTEL_LINK_ATTRIBUTE_COUNT_LIMIT`.
    /// - Lengths, in characters: `OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT` and `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`.
    ///
    /// Of two variables for the same limit, the one with `SPAN` in its name takes precedence.
    ///
    /// ```
    /// use tellane::Config;
    /// let mut config = Config::default();
    /// for fault in config.read_env(|name| std::env::var(name).ok()) {
    ///     eprintln!("{fault}");
    /// }
    ///
    /// let mut config = Config::default();
    /// assert!(config.read_env(|_| None).is_empty()); // nothing is set
    /// let given = |name: &str| match name {
    ///     "OTEL_TRACES_SAMPLER" => Some("parentbased_traceidratio".to_owned()),
    ///     "OTEL_TRACES_SAMPLER_ARG" => Some("0.1".to_owned()),
    ///     "OTEL_SPAN_EVENT_COUNT_LIMIT" => Some("many".to_owned()),
    ///     _ => None,
    /// };
    /// let faults = config.read_env(given);
    /// assert_eq!((config.sampling, config.parent_based), (0.1, true));
    /// assert_eq!((faults.len(), faults[0].setting), (1, "OTEL_SPAN_EVENT_COUNT_LIMIT"));
    /// assert_eq!(config.span_limits.events, 128); // as it was
    /// ```
    #[must_use = "a variable that cannot be used is reported only here"]
    pub fn read_env(&mut self, get: impl Fn(&str) -> Option<String>) -> Vec<ConfigFault> {
        let get =
            |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let mut faults = Vec::new();
        if let Some(name) = get("OTEL_TRACES_SAMPLER") {
            let argument = get("OTEL_TRACES_SAMPLER_ARG");
            faults.extend(self.set_sampler(&name, argument.as_deref()).err());
        }
        let limits = &mut self.span_limits;
        // General limits first: the limits for spans, read below, take precedence.
        for (name, limit) in [
            ("OTEL_ATTRIBUTE_COUNT_LIMIT", &mut limits.attributes),
            ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", &mut limits.event_attributes),
            ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", &mut limits.link_attributes),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", &mut limits.events),
            ("OTEL_SPAN_LINK_COUNT_LIMIT", &mut limits.links),
            ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", &mut limits.value),
        ] {
            faults.extend(read_limit(name, limit, &get));
        }
        for (name, limit) in [
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", &mut limits.attributes),
            ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", &mut limits.value),
        ] {
            faults.extend(read_limit(name, limit, &get));
        }
        faults
    }

    /// Sets head sampling by the name of an OpenTelemetry sampler, ignoring case. The argument is the share of traces
    /// to sample, from 0 to 1, for the two samplers by ratio; without it they sample all traces.
    ///
    /// ```
    /// let mut config = tellane::Config::default();
    /// config.set_sampler("traceidratio", Some("0.25"))?;
    /// assert_eq!((config.sampling, config.parent_based), (0.25, false));
    /// assert!(config.set_sampler("jaeger_remote", None).is_err());
    /// # Ok::<(), tellane::ConfigFault>(())
    /// ```
    ///
    /// # Errors
    /// A [`ConfigFault`] that lists the allowed values, if the name is unknown or the share is not a number from 0 to
    /// 1; no setting is changed then.
    pub fn set_sampler(&mut self, name: &str, argument: Option<&str>) -> Result<(), ConfigFault> {
        let name = name.to_ascii_lowercase();
        let (base, parent_based) = match name.strip_prefix("parentbased_") {
            Some(base) => (base, true),
            None => (name.as_str(), false),
        };
        let sampling = match base {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => {
                let share = argument.map_or(Ok(1.0), str::parse::<f64>);
                let share = share.ok().filter(|share| (0.0..=1.0).contains(share));
                share
                    .ok_or(ConfigFault { setting: "OTEL_TRACES_SAMPLER_ARG", rule: "a share from 0 to 1" })?
            }
            _ => {
                let rule = "always_on, always_off or traceidratio, or one of them after parentbased_";
                return Err(ConfigFault { setting: "OTEL_TRACES_SAMPLER", rule });
            }
        };
        (self.sampling, self.parent_based) = (sampling, parent_based);
        Ok(())
    }
}

/// Sets a limit if its variable is set. Values above `u16::MAX` become `u16::MAX`.
fn read_limit(
    name: &'static str,
    limit: &mut u16,
    get: &impl Fn(&str) -> Option<String>,
) -> Option<ConfigFault> {
    match get(name)?.parse::<u64>() {
        Ok(wanted) => {
            *limit = u16::try_from(wanted).unwrap_or(u16::MAX);
            None
        }
        Err(_) => Some(ConfigFault { setting: name, rule: "a whole number, 0 or more" }),
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    fn read(config: &mut Config, given: &[(&str, &str)]) -> Vec<&'static str> {
        let get = |name: &str| given.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        config.read_env(get).into_iter().map(|fault| fault.setting).collect()
    }

    #[test]
    fn samplers_are_chosen_by_name() {
        for (name, argument, expected) in [
            ("always_on", "", Some((1.0, false))),
            ("Always_Off", "", Some((0.0, false))),
            ("parentbased_always_on", "0.5", Some((1.0, true))),
            ("parentbased_always_off", "", Some((0.0, true))),
            ("traceidratio", "", Some((1.0, false))),
            ("parentbased_traceidratio", " 0.125 ", Some((0.125, true))),
            ("traceidratio", "1.5", None),
            ("traceidratio", "NaN", None),
            ("traceidratio", "half", None),
            ("xray", "", None),
            ("parentbased_", "", None),
        ] {
            let mut config = Config { sampling: 0.75, ..Config::default() };
            let faults =
                read(&mut config, &[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)]);
            let found = (config.sampling, config.parent_based);
            assert_eq!(found, expected.unwrap_or((0.75, true)), "{name} {argument}");
            assert_eq!(faults.len(), usize::from(expected.is_none()), "{name} {argument}");
        }
    }

    #[test]
    fn span_limits_take_precedence_and_invalid_values_change_nothing() {
        let mut config = Config::default();
        let faults = read(
            &mut config,
            &[
                ("OTEL_ATTRIBUTE_COUNT_LIMIT", "7"),
                ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "9"),
                ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "10"),
                ("OTEL_SPAN_EVENT_COUNT_LIMIT", "-1"),
                ("OTEL_SPAN_LINK_COUNT_LIMIT", "99999999"),
                ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", ""),
                ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "0"),
            ],
        );
        let limits = config.span_limits;
        assert_eq!((limits.attributes, limits.value, limits.events, limits.links), (9, 10, 128, u16::MAX));
        assert_eq!((limits.event_attributes, limits.link_attributes), (128, 0));
        assert_eq!(faults, ["OTEL_SPAN_EVENT_COUNT_LIMIT"]);
    }
}
