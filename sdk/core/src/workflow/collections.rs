//! [`Map`] and [`Set`]: collections whose order is that in which things were put in, on every replay.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};

/// A map in the order in which keys were put in. `HashMap` has another order on every run of the process.
///
/// ```
/// use mainspring_sdk::workflow::Map;
///
/// let mut stock: Map<String, u32> = Map::new();
/// stock.insert("pears".to_owned(), 3);
/// stock.insert("apples".to_owned(), 5);
/// assert_eq!(stock.keys().collect::<Vec<_>>(), ["pears", "apples"]);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Map<K, V> {
    places: BTreeMap<K, u64>,
    entries: BTreeMap<u64, (K, V)>,
    next: u64,
}

impl<K: Ord + Clone, V> Map<K, V> {
    /// An empty map.
    pub fn new() -> Map<K, V> {
        Map { places: BTreeMap::new(), entries: BTreeMap::new(), next: 0 }
    }

    /// Puts a value in, and gives the one that was there. A key keeps its place.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(place) = self.places.get(&key) {
            return self.entries.insert(*place, (key, value)).map(|(_, before)| before);
        }
        self.places.insert(key.clone(), self.next);
        self.entries.insert(self.next, (key, value));
        self.next += 1;
        None
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.get(self.places.get(key)?).map(|(_, value)| value)
    }

    /// The value of a key, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.get_mut(self.places.get(key)?).map(|(_, value)| value)
    }

    /// True when the key is in.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
    {
        self.places.contains_key(key)
    }

    /// Takes a value out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let place = self.places.remove(key)?;
        self.entries.remove(&place).map(|(_, value)| value)
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.values().map(|(key, value)| (key, value))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord + Clone, V> Default for Map<K, V> {
    fn default() -> Map<K, V> {
        Map::new()
    }
}

impl<K: Ord + Clone, V> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Map<K, V> {
        let mut map = Map::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries.values().map(|(key, value)| (key, value))).finish()
    }
}

impl<K: Ord + Clone + Serialize, V: Serialize> Serialize for Map<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, K: Ord + Clone + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Map<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Map<K, V>, D::Error> {
        struct Visitor<K, V>(std::marker::PhantomData<(K, V)>);
        impl<'de, K: Ord + Clone + Deserialize<'de>, V: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<K, V> {
            type Value = Map<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Map<K, V>, A::Error> {
                let mut map = Map::new();
                while let Some((key, value)) = access.next_entry()? {
                    map.insert(key, value);
                }
                Ok(map)
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

/// A set in the order in which values were put in. `HashSet` has another order on every run of the process.
#[derive(Clone, PartialEq, Eq)]
pub struct Set<T> {
    map: Map<T, ()>,
}

impl<T: Ord + Clone> Set<T> {
    /// An empty set.
    pub fn new() -> Set<T> {
        Set { map: Map::new() }
    }

    /// Puts a value in; false when it was there.
    pub fn insert(&mut self, value: T) -> bool {
        !self.map.contains_key(&value) && self.map.insert(value, ()).is_none()
    }

    /// True when the value is in.
    pub fn contains<Q: Ord + ?Sized>(&self, value: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        self.map.contains_key(value)
    }

    /// Takes a value out; false when it was not there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, value: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        self.map.remove(value).is_some()
    }

    /// How many values it has.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// True when it has none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The values, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.map.keys()
    }
}

impl<T: Ord + Clone> Default for Set<T> {
    fn default() -> Set<T> {
        Set::new()
    }
}

impl<T: Ord + Clone> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Set<T> {
        Set { map: values.into_iter().map(|value| (value, ())).collect() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Set<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.map.entries.values().map(|(value, ())| value)).finish()
    }
}
