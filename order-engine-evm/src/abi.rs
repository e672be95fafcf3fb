//! The functions, events and errors of contracts, by the signatures that their ABI has.

#![allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::pedantic)] // What the macro writes.

use alloy_sol_types::sol;

sol! {
    #[derive(Debug)]
    interface Erc20 {
        event Transfer(address indexed from, address indexed to, uint256 value);

        error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
        error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);

        function balanceOf(address owner) external view returns (uint256);
        function allowance(address owner, address spender) external view returns (uint256);
        function approve(address spender, uint256 amount) external returns (bool);

        // Of the tokens with permits (EIP-2612).
        function DOMAIN_SEPARATOR() external view returns (bytes32);
        function nonces(address owner) external view returns (uint256);
        function permit(
            address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s
        ) external;
    }

    /// What tokens tell of themselves, if they do.
    #[derive(Debug)]
    interface Decimals {
        function decimals() external view returns (uint8);
    }

    /// The chain's own token as a token of the standard.
    #[derive(Debug)]
    interface WrappedNative {
        event Deposit(address indexed owner, uint256 amount);
        event Withdrawal(address indexed owner, uint256 amount);
    }

    #[derive(Debug)]
    interface V2Pair {
        event Swap(
            address indexed sender, uint256 amount0_in, uint256 amount1_in, uint256 amount0_out, uint256 amount1_out, address indexed to
        );

        function token0() external view returns (address);
        function token1() external view returns (address);
        function getReserves() external view returns (uint112 reserve0, uint112 reserve1, uint32 block_timestamp_last);
    }

    #[derive(Debug)]
    interface V2Factory {
        function getPair(address token0, address token1) external view returns (address);
    }

    #[derive(Debug)]
    interface V3Factory {
        function getPool(address token0, address token1, uint24 fee) external view returns (address);
    }

    #[derive(Debug)]
    interface V3Pool {
        event Swap(
            address indexed sender, address indexed recipient, int256 amount0, int256 amount1, uint160 sqrt_price_x96, uint128 liquidity, int24 tick
        );

        function fee() external view returns (uint24);
        function tickSpacing() external view returns (int24);
        function liquidity() external view returns (uint128);
        function slot0() external view returns (
            uint160 sqrt_price_x96, int24 tick, uint16 observation_index, uint16 observation_cardinality,
            uint16 observation_cardinality_next, uint8 fee_protocol, bool unlocked
        );
        function tickBitmap(int16 word) external view returns (uint256);
        function ticks(int24 tick) external view returns (
            uint128 liquidity_gross, int128 liquidity_net, uint256 fee_growth_outside0, uint256 fee_growth_outside1,
            int56 tick_cumulative_outside, uint160 seconds_per_liquidity_outside, uint32 seconds_outside, bool initialized
        );
    }

    /// Uniswap's router of V2, which its forks have as well.
    #[derive(Debug)]
    interface V2Router {
        function swapExactTokensForTokens(
            uint256 amount_in, uint256 amount_out_min, address[] path, address to, uint256 deadline
        ) external returns (uint256[] amounts);
        function swapExactETHForTokens(
            uint256 amount_out_min, address[] path, address to, uint256 deadline
        ) external payable returns (uint256[] amounts);
        function swapExactTokensForETH(
            uint256 amount_in, uint256 amount_out_min, address[] path, address to, uint256 deadline
        ) external returns (uint256[] amounts);
    }

    #[derive(Debug)]
    struct ExactInput {
        bytes path;
        address recipient;
        uint256 amount_in;
        uint256 amount_out_minimum;
    }

    /// Uniswap's router of V2 and V3.
    #[derive(Debug)]
    interface SwapRouter02 {
        function exactInput(ExactInput params) external payable returns (uint256 amount_out);
        function swapExactTokensForTokens(
            uint256 amount_in, uint256 amount_out_min, address[] path, address to
        ) external payable returns (uint256 amount_out);
        function multicall(uint256 deadline, bytes[] data) external payable returns (bytes[] results);
        function sweepToken(address token, uint256 amount_minimum, address recipient) external payable;
        function unwrapWETH9(uint256 amount_minimum, address recipient) external payable;
        function refundETH() external payable;
        function selfPermitIfNecessary(
            address token, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s
        ) external payable;
    }
}
