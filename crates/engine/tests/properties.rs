//! Markers, search attributes, memo; what a start's fields become.

mod world;

use mainspring_api::v1::{
    Payload,
    command::{
        ModifyWorkflowPropertiesCommandAttributes, RecordMarkerCommandAttributes,
        UpsertWorkflowSearchAttributesCommandAttributes, command::Attributes,
    },
    common::{Memo, SearchAttributes},
    enums::CommandType,
    sdk::UserMetadata,
};
use world::{commands::*, world};

fn value(text: &str) -> Payload {
    Payload::new("json/plain", text.as_bytes())
}

/// Upserts merge by key, an empty value removes its key; markers are passed through.
#[test]
fn properties_are_merged() {
    let mut w = world();
    w.start_with("w", |s| {
        s.memo = [("m".to_owned(), value("1")), ("gone".to_owned(), value("1"))].into();
        s.search_attributes = [("s".to_owned(), value("1"))].into();
    });
    let memo = ModifyWorkflowPropertiesCommandAttributes {
        upserted_memo: Some(Memo { fields: [("gone".to_owned(), value("null")), ("n".to_owned(), value("2"))].into() }),
    };
    let search = UpsertWorkflowSearchAttributesCommandAttributes {
        search_attributes: Some(SearchAttributes { indexed_fields: [("s".to_owned(), value("2"))].into() }),
    };
    let marker = RecordMarkerCommandAttributes { marker_name: "marker".into(), ..Default::default() };
    w.work(
        "w",
        vec![
            command(CommandType::ModifyWorkflowProperties, Attributes::ModifyWorkflowPropertiesCommandAttributes(memo)),
            command(
                CommandType::UpsertWorkflowSearchAttributes,
                Attributes::UpsertWorkflowSearchAttributesCommandAttributes(search),
            ),
            command(CommandType::RecordMarker, Attributes::RecordMarkerCommandAttributes(marker)),
        ],
    );
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 WorkflowPropertiesModified 6 UpsertWorkflowSearchAttributes 7 MarkerRecorded",
    );
    let properties = w.run("w").properties.clone();
    assert_eq!(properties.memo.keys().collect::<Vec<_>>(), ["m", "n"]);
    assert_eq!(properties.search_attributes["s"], value("2"));
    // What is not set goes on with the next run.
    w.signal("w", "").unwrap();
    w.seconds(2);
    w.work("w", vec![continue_as_new()]);
    assert_eq!(w.run("w").properties, properties);
}

/// What a command says for people is on its event.
#[test]
fn user_metadata_is_copied() {
    let mut w = world();
    let metadata = Some(UserMetadata { summary: Some(value("\"why\"")), details: None });
    w.start_with("w", |s| s.user_metadata = metadata.clone());
    let mut command = timer("t", 1);
    command.user_metadata = metadata.clone();
    w.work("w", vec![command]);
    assert_eq!((&w.events("w")[0].user_metadata, &w.events("w")[4].user_metadata), (&metadata, &metadata));
}

/// Empty upserts are refused.
#[test]
fn empty_changes_are_refused() {
    let mut w = world();
    w.start("w");
    let empty = Attributes::ModifyWorkflowPropertiesCommandAttributes(Default::default());
    let refused = w.refused("w", vec![command(CommandType::ModifyWorkflowProperties, empty)]);
    assert!(refused.message.starts_with("BadModifyWorkflowPropertiesAttributes"), "{}", refused.message);
}
