//! Frames that are no events.

use serde::Deserialize;

use crate::error::Error;
use crate::follow::follower::Taken;
use crate::follow::item::Item;

/// What any frame may have beside an event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Control {
    pub(crate) r#type: String,
    message: Option<String>,
    pub(crate) order_id: Option<String>,
    pub(crate) cursor: Option<String>,
}

impl Control {
    pub(crate) fn read(json: &str) -> Result<Self, Error> {
        serde_json::from_str(json).map_err(|error| Error::Unexpected(error.to_string()))
    }

    /// Returns what the user may want to know of a frame without an id.
    pub(crate) fn notice(self) -> Taken {
        match self.message {
            Some(message) if self.r#type == "notice" => Taken::Beside(Item::Notice { message }),
            _ => Taken::Nothing,
        }
    }
}
