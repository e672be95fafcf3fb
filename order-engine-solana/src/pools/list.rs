//! Lists of pools in text.

use std::path::Path;

use solana_pubkey::Pubkey;

/// Why there is no list of pools.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolListError {
    /// The file cannot be read.
    #[error("the list of pools cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// A line is no address.
    #[error("line {line} of the list of pools is no address")]
    NoAddress {
        /// The number of the line, from one.
        line: usize,
    },
}

/// Reads the addresses of pools from a file: one a line. Empty lines are skipped, and what stands behind a `#`. An address that
/// stands there twice counts once.
///
/// # Errors
/// If the file cannot be read, or a line is no address.
pub fn read_pool_list(path: impl AsRef<Path>) -> Result<Vec<Pubkey>, PoolListError> {
    parse(&std::fs::read_to_string(path).map_err(PoolListError::Unreadable)?)
}

fn parse(text: &str) -> Result<Vec<Pubkey>, PoolListError> {
    let mut pools = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let address = line.split('#').next().unwrap_or_default().trim();
        if address.is_empty() {
            continue;
        }
        let pool = address.parse().map_err(|_| PoolListError::NoAddress { line: number + 1 })?;
        if !pools.contains(&pool) {
            pools.push(pool);
        }
    }
    Ok(pools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_an_address_a_line_and_remarks() {
        let [one, other] = [[1; 32], [2; 32]].map(Pubkey::new_from_array);
        let text = format!("# pools\n\n{one} # SOL/USDC\r\n  {other}\n{one}\n");
        assert_eq!(parse(&text).unwrap(), [one, other]);
        assert!(parse("").unwrap().is_empty());
        let error = parse(&format!("{one}\nnonsense\n")).unwrap_err();
        assert!(matches!(error, PoolListError::NoAddress { line: 2 }), "{error}");
        assert!(matches!(read_pool_list("/nowhere/at/all"), Err(PoolListError::Unreadable(_))));
    }
}
