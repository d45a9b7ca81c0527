//! Patches and versions: changes of code that runs already begun must not see. Both leave a marker and an entry in the
//! search attribute `TemporalChangeVersion`.

use std::{cell::RefCell, collections::BTreeMap, ops::RangeInclusive};

use mainspring_api::v1::{
    command::{RecordMarkerCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes},
    common,
    history::MarkerRecordedEventAttributes,
};
use serde::{Deserialize, Serialize};

use crate::{
    call::SearchAttributes,
    workflow::{
        fault::{At, Fault},
        history::Recorded,
        marker::{Marker, details, json, read},
        ops::What,
        run::Run,
    },
};

pub(crate) const CHANGE_VERSION: &str = "TemporalChangeVersion";
const PATCH: &str = "core_patch";
const PATCH_DATA: &str = "patch-data";
const VERSION: &str = "Version";
/// The search attribute is left as it is once it would be larger; other SDKs do the same.
const CHANGE_VERSION_BYTES_MAX: usize = 2048;

/// What a run has decided about changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Found in the history ahead of the code.
    recorded_patches: BTreeMap<String, ()>,
    recorded_versions: BTreeMap<String, i32>,
    /// Already answered: the answer never changes within a run.
    patches: BTreeMap<String, bool>,
    versions: BTreeMap<String, i32>,
    /// The entries of the search attribute.
    entries: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct PatchData {
    id: String,
    #[serde(default)]
    deprecated: bool,
}

impl Changes {
    pub(crate) fn learn(&self, recorded: &mut Recorded) {
        let mut inner = self.inner.borrow_mut();
        inner.recorded_patches.extend(recorded.patches.drain(..).map(|id| (id, ())));
        inner.recorded_versions.append(&mut recorded.versions);
    }
}

impl Run {
    pub(crate) fn patched(&self, id: &str, deprecated: bool, at: At) -> bool {
        let mut inner = self.changes.inner.borrow_mut();
        if let Some(known) = inner.patches.get(id) {
            return *known;
        }
        let active = inner.recorded_patches.contains_key(id) || !self.replaying.get();
        inner.patches.insert(id.to_owned(), active);
        if active {
            let entries = inner.add_entry(id.to_owned());
            drop(inner);
            self.issue(What::Marker(Box::new(Marker::Patch { id: id.to_owned(), deprecated })), at);
            self.upsert_entries(entries, at);
        }
        active
    }

    pub(crate) fn version(&self, id: &str, range: RangeInclusive<i32>, at: At) -> i32 {
        let mut inner = self.changes.inner.borrow_mut();
        let recorded = inner.recorded_versions.get(id).copied();
        let version = match inner.versions.get(id) {
            Some(known) => *known,
            None if recorded.is_none() && self.replaying.get() => *range.start(),
            None => {
                let version = recorded.unwrap_or(*range.end());
                let entries = inner.add_entry(format!("{id}-{version}"));
                inner.versions.insert(id.to_owned(), version);
                drop(inner);
                self.issue(What::Marker(Box::new(Marker::Version { id: id.to_owned(), version })), at);
                self.upsert_entries(entries, at);
                inner = self.changes.inner.borrow_mut();
                version
            }
        };
        inner.versions.insert(id.to_owned(), version);
        if !range.contains(&version) {
            self.fail(Fault::Unusable(format!(
                "version {version} of {id:?} is in the history, this code has {} to {} only, at {at}",
                range.start(),
                range.end()
            )));
        }
        version
    }

    fn upsert_entries(&self, entries: Option<Vec<String>>, at: At) {
        let Some(entries) = entries else { return };
        let attributes = SearchAttributes::new().keywords(CHANGE_VERSION, entries);
        let command = UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: attributes.to_proto() };
        self.merge_search_attributes(attributes);
        self.issue(What::Upsert { command: Box::new(command), of_change: true }, at);
    }
}

impl Inner {
    /// All entries when the new one has room.
    fn add_entry(&mut self, entry: String) -> Option<Vec<String>> {
        let size: usize = self.entries.iter().map(|entry| entry.len() + 3).sum();
        if size + entry.len() + 5 > CHANGE_VERSION_BYTES_MAX {
            tracing::warn!(entry, "the search attribute {CHANGE_VERSION} is full");
            return None;
        }
        self.entries.push(entry);
        Some(self.entries.clone())
    }
}

pub(crate) fn patch_command(id: &str, deprecated: bool) -> RecordMarkerCommandAttributes {
    let data = json(PatchData { id: id.to_owned(), deprecated });
    RecordMarkerCommandAttributes {
        marker_name: PATCH.to_owned(),
        details: details([(PATCH_DATA, data)]),
        ..RecordMarkerCommandAttributes::default()
    }
}

pub(crate) fn version_command(id: &str, version: i32) -> RecordMarkerCommandAttributes {
    RecordMarkerCommandAttributes {
        marker_name: VERSION.to_owned(),
        details: details([("change-id", json(id)), ("version", json(version))]),
        ..RecordMarkerCommandAttributes::default()
    }
}

/// The id of a patch's marker, and whether it is deprecated.
pub(crate) fn patch_of(marker: &MarkerRecordedEventAttributes) -> Option<(String, bool)> {
    if marker.marker_name != PATCH {
        return None;
    }
    let data: PatchData = read(marker, PATCH_DATA)?;
    Some((data.id, data.deprecated))
}

pub(crate) fn version_of(marker: &MarkerRecordedEventAttributes) -> Option<(String, i32)> {
    if marker.marker_name != VERSION {
        return None;
    }
    Some((read(marker, "change-id")?, read(marker, "version")?))
}

pub(crate) fn look(marker: &MarkerRecordedEventAttributes, recorded: &mut Recorded) -> Result<(), String> {
    match marker.marker_name.as_str() {
        PATCH => {
            let (id, _) = patch_of(marker).ok_or("the marker of a patch has no id that can be read")?;
            recorded.patches.push(id);
        }
        VERSION => {
            let (id, version) = version_of(marker).ok_or("the marker of a version cannot be read")?;
            recorded.versions.insert(id, version);
        }
        _ => {}
    }
    Ok(())
}

/// True for the search attribute's update that follows a marker.
pub(crate) fn is_change_version(attributes: Option<&common::SearchAttributes>) -> bool {
    attributes.is_some_and(|attributes| attributes.indexed_fields.contains_key(CHANGE_VERSION))
}
