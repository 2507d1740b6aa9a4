//! The command line, parsed by hand: four options do not justify a dependency.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

pub(crate) const HELP: &str = "\
Builds an inverted word index of a directory in memory, observed by tellane, and prints the cost of the telemetry.

usage: indexer [OPTIONS] [DIR]

  DIR                 directory to index; by default the cargo registry's sources, or else this repository.
                      Hidden entries, symbolic links and cache directories (CACHEDIR.TAG) are left out.
  --prometheus FILE   write the metrics to FILE, in the Prometheus text format
  --max-mib N         read at most N MiB; by default 256 without DIR, no limit with DIR
  --passes N          number of timed passes with telemetry on, and again with telemetry off; by default 5
  --threads N         number of indexing threads; by default one for each CPU
  --help              print this help
";

/// Limit for a run without a directory, so that it takes well under a minute on two slow cores.
const DEFAULT_MAX_MIB: u64 = 256;

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) root: PathBuf,
    pub(crate) prometheus: Option<PathBuf>,
    pub(crate) max_bytes: u64,
    pub(crate) passes: usize,
    pub(crate) threads: usize,
}

impl Options {
    /// Parses the arguments. `None` if help is requested; the error is a message for the user.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, String> {
        let (mut root, mut prometheus, mut max_mib) = (None, None, None);
        let mut passes = 5;
        let mut threads = available_parallelism().map_or(2, NonZeroUsize::get);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().ok_or_else(|| format!("{} needs a value", argument.display()));
            match argument.to_str() {
                Some("--help" | "-h") => return Ok(None),
                Some("--prometheus") => prometheus = Some(PathBuf::from(value()?)),
                Some("--max-mib") => max_mib = Some(number("--max-mib", &value()?)? as u64),
                Some("--passes") => passes = number("--passes", &value()?)?,
                Some("--threads") => threads = number("--threads", &value()?)?,
                Some(option) if option.starts_with('-') => {
                    return Err(format!("unknown option {option}"));
                }
                _ if root.is_some() => {
                    return Err(format!("only one DIR is allowed: {} is the second", argument.display()));
                }
                _ => root = Some(PathBuf::from(argument)),
            }
        }
        if root.is_none() {
            max_mib.get_or_insert(DEFAULT_MAX_MIB);
        }
        let root = root.unwrap_or_else(default_root);
        fs::read_dir(&root).map_err(|error| format!("cannot read {}: {error}", root.display()))?;
        let max_bytes = max_mib.map_or(u64::MAX, |mib| mib.saturating_mul(1 << 20));
        Ok(Some(Self { root, prometheus, max_bytes, passes, threads }))
    }
}

fn number(option: &str, value: &OsString) -> Result<usize, String> {
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
    number.ok_or_else(|| format!("{option} needs a number above 0, not {}", value.display()))
}

/// Returns a directory with text that every machine with Rust has.
fn default_root() -> PathBuf {
    let home = |variable, below: &str| env::var_os(variable).map(|home| Path::new(&home).join(below));
    let cargo =
        home("CARGO_HOME", "").or_else(|| home("HOME", ".cargo")).or_else(|| home("USERPROFILE", ".cargo"));
    let sources = cargo.map(|cargo| cargo.join("registry/src"));
    let filled = sources.filter(|sources| fs::read_dir(sources).is_ok_and(|mut all| all.next().is_some()));
    filled.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")))
}
