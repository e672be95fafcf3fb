//! What all streams share: connections that break and are made again.

use crate::client::Client;
use crate::error::Error;
use crate::follow::item::Item;
use crate::follow::link::{Link, Pace};
use crate::sse::Message;

/// How far a stream has been read.
pub(crate) trait Place {
    /// Returns the path of the stream.
    fn path(&self) -> String;

    /// Returns the id behind which it goes on, unless it has not begun anywhere yet.
    fn last_id(&self) -> Option<String>;

    /// Goes on to a message.
    fn take(&mut self, message: Message) -> Result<Taken, Error>;
}

/// What a message is.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The next event, which may be the last.
    Event { item: Item, is_last: bool },
    /// What the user may want to know beside the events.
    Beside(Item),
    /// What only the stream needs.
    Nothing,
    /// What cannot follow where the stream is.
    Gap(String),
}

/// A stream that connects again.
#[derive(Debug)]
pub(crate) struct Follower<P> {
    client: Client,
    pub(crate) place: P,
    link: Option<Link>,
    pace: Pace,
    has_ended: bool,
}

impl<P: Place> Follower<P> {
    /// Connects, and waits until the stream has begun somewhere, so that nothing behind that is missed.
    pub(crate) async fn open(client: &Client, place: P) -> Result<Self, Error> {
        let client = client.clone();
        let mut follower = Self { client, place, link: None, pace: Pace::new(), has_ended: false };
        let mut repeats = follower.client.repeats();
        while let Err(error) = follower.connect().await {
            if !repeats.wait(&error).await {
                return Err(error);
            }
        }
        Ok(follower)
    }

    /// Returns what comes next, and nothing behind the last event.
    pub(crate) async fn next(&mut self) -> Option<Result<Item, Error>> {
        while !self.has_ended {
            match self.step().await {
                Ok(None) => {}
                Ok(Some(item)) => return Some(Ok(item)),
                Err(error) => {
                    self.has_ended = true;
                    self.link = None;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    async fn step(&mut self) -> Result<Option<Item>, Error> {
        let Some(link) = &mut self.link else {
            self.pace.wait().await;
            return match self.connect().await {
                Err(error) if error.is_passing() => {
                    self.pace.failed(Some(&error));
                    Ok(Some(Item::Interrupted { reason: error.to_string() }))
                }
                result => result.map(|()| None),
            };
        };
        match link.next().await {
            Ok(message) => self.take(message),
            Err(reason) => Ok(Some(self.cut(reason))),
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let http = self.client.http();
        let body = http.stream(&self.place.path(), self.place.last_id().as_deref()).await?;
        // Without a body there is no further event, and never will be.
        self.has_ended = body.is_none();
        let Some(body) = body else { return Ok(()) };
        let mut link = Link::new(body, http.silence_max());
        while self.place.last_id().is_none() {
            let message = link.next().await.map_err(|reason| http.cut(reason))?;
            if message.id.is_some() {
                return Err(Error::Unexpected("an event came before its stream began".into()));
            }
            self.place.take(message)?;
        }
        self.link = Some(link);
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<Option<Item>, Error> {
        Ok(match self.place.take(message)? {
            Taken::Event { item, is_last } => {
                self.has_ended = is_last;
                self.pace.progressed();
                Some(item)
            }
            Taken::Beside(item) => Some(item),
            Taken::Nothing => None,
            Taken::Gap(reason) => Some(self.cut(reason)),
        })
    }

    fn cut(&mut self, reason: String) -> Item {
        self.link = None;
        self.pace.failed(None);
        Item::Interrupted { reason }
    }
}
