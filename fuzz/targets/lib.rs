//! What the targets share: planting a bug before the first input, and the oracle's voice.

/// Plants the bug that `TELLANE_PLANT` names, if it names one. Needs a build with `--cfg tellane_plant`.
///
/// A name that cannot be planted ends the process with its own message, which is not the one of a found bug.
pub fn plant() {
    let Ok(name) = std::env::var("TELLANE_PLANT") else { return };
    if !tellane::fuzzing::plant(&name) {
        eprintln!("cannot plant {name}");
        std::process::exit(2);
    }
    eprintln!("planted {name}");
}

/// Asserts that two sides agree; the message names the oracle, to tell its finding from a panic inside the crate.
#[macro_export]
macro_rules! hold {
    ($left:expr, $right:expr, $what:expr) => {
        assert_eq!($left, $right, "the oracle disagrees on {}", $what)
    };
}
