//! Places an order and watches it to its end. Stop the server in the middle and start it again: no event is missed.
//!
//! ```sh
//! cargo run -p order-engine-client --features config --example place_and_watch -- 1.5 SOL USDC
//! ```

use std::error::Error;

use order_engine_client::{Client, Item, OrderForm, Settings, Status};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [amount, token_in, token_out] = args.as_slice() else {
        return Err("which order? place_and_watch 1.5 SOL USDC".into());
    };
    // ORDER_ENGINE_URL, ORDER_ENGINE_KEY, or the file that the command line reads as well.
    let client = Client::new(&Settings::from_env()?)?;
    let placed = client.place(&OrderForm::new(amount, token_in, token_out)).await?;
    println!("order {} under the key {}", placed.order_id, placed.client_order_id);

    let mut events = client.follow(&placed.order_id, 0).await?;
    let mut status = placed.status;
    while let Some(item) = events.next_item().await {
        match item? {
            Item::Event(event) => {
                println!("{:>3} {:>3}% {}", event.seq, event.progress, event.message);
                status = event.status;
            }
            Item::Interrupted { reason } => eprintln!("interrupted: {reason}"),
            Item::Notice { message } => eprintln!("notice: {message}"),
            _ => {}
        }
    }
    if status == Status::Confirmed { Ok(()) } else { Err("the order failed".into()) }
}
