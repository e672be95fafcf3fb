//! Leases of endpoints.

use uuid::Uuid;

use crate::webhooks::endpoint::EndpointId;

/// The right to deliver to an endpoint. It ends by itself, or when the user changes the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) id: EndpointId,
    /// Who has it: a start of a process.
    pub(crate) holder: Uuid,
    /// Which state of the endpoint it is for.
    pub(crate) revision: u64,
}
