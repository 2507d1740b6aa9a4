//! Values that other crates attach to an instance, one of each type. Cold. Lock-free to read and to write, since a
//! forked child does both.

use arc_swap::ArcSwap;
use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

type Extension = Arc<dyn Any + Send + Sync>;

/// The extensions of one instance.
#[derive(Default)]
pub(crate) struct Extensions(ArcSwap<Vec<(TypeId, Extension)>>);

impl Extensions {
    /// The extension of this type, if one was set.
    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let all = self.0.load();
        let (_, value) = all.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        Arc::clone(value).downcast().ok()
    }

    /// Sets the extension of its type. `Err` with the value if there is one already.
    pub(crate) fn set<T: Any + Send + Sync>(&self, value: T) -> Result<Arc<T>, T> {
        let id = TypeId::of::<T>();
        let value = Arc::new(value);
        // Of several threads that set at once, the first exchange decides; the others then see its entry.
        let before = self.0.rcu(|all| {
            let is_there = all.iter().any(|(other, _)| *other == id);
            let new = (!is_there).then(|| (id, Arc::clone(&value) as Extension));
            all.iter().cloned().chain(new).collect::<Vec<_>>()
        });
        if before.iter().any(|(other, _)| *other == id) {
            // The list that was exchanged holds no clone of our value; lists of failed exchanges were dropped.
            return match Arc::try_unwrap(value) {
                Ok(value) => Err(value),
                Err(shared) => Ok(shared), // unreachable: see above
            };
        }
        Ok(value)
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extensions({})", self.0.load().len())
    }
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_extension_and_the_first_stays() {
        let extensions = Extensions::default();
        assert_eq!(extensions.get::<u32>(), None);
        assert_eq!((extensions.set(7_u32), extensions.set(8_u64)), (Ok(Arc::new(7)), Ok(Arc::new(8))));
        assert_eq!(extensions.set(9_u32), Err(9));
        assert_eq!((extensions.get(), extensions.get()), (Some(Arc::new(7_u32)), Some(Arc::new(8_u64))));
        assert_eq!(format!("{extensions:?}"), "Extensions(2)");
    }

    #[test]
    fn of_threads_that_set_at_once_one_succeeds() {
        for _ in 0..200 {
            let extensions = Extensions::default();
            let set: Vec<bool> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4_usize)
                    .map(|own| {
                        scope.spawn({
                            let extensions = &extensions;
                            move || extensions.set(own).is_ok_and(|value| extensions.get() == Some(value))
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            assert_eq!(set.iter().filter(|succeeded| **succeeded).count(), 1);
        }
    }

    #[test]
    fn values_are_dropped_with_their_instance() {
        let (value, extensions) = (Arc::new(()), Extensions::default());
        assert!(extensions.set(Arc::clone(&value)).is_ok());
        drop(extensions);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
