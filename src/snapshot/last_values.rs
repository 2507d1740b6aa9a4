//! Attributes as their readers see them: each key once. Cold, but linear: a saved snapshot from elsewhere may hold spans
//! of 4,000 attributes, and keys of any length.

use crate::record::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Up to so many attributes are compared with each other; more of them are hashed.
const FEW: usize = 16;

/// Attributes with their names. Of a key that was set again, the last value stands where the first one stood. A key
/// without a name is left out.
///
/// Keys are the same if they lie at the same address: an instance interns them, and so does the reader of a snapshot.
/// To compare or hash the texts would take time in proportion to attributes times bytes.
pub(super) fn last_values<'n>(
    attributes: Vec<(u32, Value)>,
    name: impl Fn(u32) -> Option<&'n Arc<str>>,
) -> Vec<(Arc<str>, Value)> {
    let mut kept: Vec<(Arc<str>, Value)> = Vec::with_capacity(attributes.len());
    let mut places: HashMap<*const u8, usize> = HashMap::new();
    let are_few = attributes.len() <= FEW;
    for (key, value) in attributes {
        let Some(key) = name(key) else { continue };
        let there = if are_few {
            kept.iter().position(|(there, _)| Arc::ptr_eq(there, key))
        } else {
            let there = places.get(&key.as_ptr()).copied();
            places.entry(key.as_ptr()).or_insert(kept.len());
            there
        };
        match there.and_then(|at| kept.get_mut(at)) {
            Some((_, there)) => *there = value,
            None => kept.push((Arc::clone(key), value)),
        }
    }
    kept
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_stands_where_the_first_one_stood() {
        let names: Vec<Arc<str>> = (0..100).map(|number| Arc::from(format!("key {number}"))).collect();
        for keys in [1_u32, 3, 7, 40, 100] {
            for sets in [0, 1, 5, 16, 17, 500] {
                let sets: Vec<_> =
                    (0..sets).map(|number: u32| (number * 7 % keys, Value::U64(number.into()))).collect();
                // A list, gone through from the start for each attribute.
                let mut expected: Vec<(Arc<str>, Value)> = Vec::new();
                for (key, value) in &sets {
                    let key = &names[*key as usize];
                    match expected.iter().position(|(there, _)| there == key) {
                        Some(at) => expected[at].1 = value.clone(),
                        None => expected.push((Arc::clone(key), value.clone())),
                    }
                }
                assert_eq!(last_values(sets, |key| names.get(key as usize)), expected);
            }
        }
    }

    #[test]
    fn a_key_without_a_name_is_left_out() {
        let name: Arc<str> = "a".into();
        let sets = vec![(1, Value::Bool(true)), (2, Value::U64(1)), (1, Value::U64(2))];
        let found = last_values(sets, |key| (key == 1).then_some(&name));
        assert_eq!(found, [("a".into(), Value::U64(2))]);
    }
}
