//! Removes replaced values from attributes, so that readers see each key once. Cold, but must take linear time: a saved
//! snapshot from another machine may hold spans of 4,000 attributes with keys of any length.

use crate::record::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// The largest number of attributes that are compared with each other; more of them are hashed.
const FEW: usize = 16;

/// Looks up the attributes' keys and keeps the last value of each key, at the position of its first value. Attributes
/// whose key is unknown are left out.
///
/// Keys are compared by address: an instance interns them, and so does the reader of a saved snapshot. Comparing or
/// hashing the texts would take time in proportion to attributes times bytes.
pub(super) fn last_values<'n>(
    attributes: Vec<(u32, Value)>,
    name: impl Fn(u32) -> Option<&'n Arc<str>>,
) -> Vec<(Arc<str>, Value)> {
    let mut kept: Vec<(Arc<str>, Value)> = Vec::with_capacity(attributes.len());
    let mut positions: HashMap<*const u8, usize> = HashMap::new();
    let are_few = attributes.len() <= FEW;
    for (key, value) in attributes {
        let Some(key) = name(key) else { continue };
        let position = if are_few {
            kept.iter().position(|(other, _)| Arc::ptr_eq(other, key))
        } else {
            let position = positions.get(&key.as_ptr()).copied();
            positions.entry(key.as_ptr()).or_insert(kept.len());
            position
        };
        match position.and_then(|at| kept.get_mut(at)) {
            Some((_, earlier)) => *earlier = value,
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
                // The naive way: a list that is searched from its start for each attribute.
                let mut expected: Vec<(Arc<str>, Value)> = Vec::new();
                for (key, value) in &sets {
                    let key = &names[*key as usize];
                    match expected.iter().position(|(other, _)| other == key) {
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
