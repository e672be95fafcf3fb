//! What the tests call that the crate does not.

#![allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::pedantic)] // What the macro writes.

use alloy_sol_types::sol;

sol! {
    interface Token {
        function approve(address spender, uint256 amount) external returns (bool);
        function allowance(address owner, address spender) external view returns (uint256);
        function transfer(address to, uint256 amount) external returns (bool);
        function balanceOf(address owner) external view returns (uint256);
    }

    interface Weth {
        function deposit() external payable;
    }

    interface V2Factory {
        function getPair(address one, address other) external view returns (address);
    }

    interface V2Router {
        function addLiquidity(
            address one, address other, uint256 amountOne, uint256 amountOther, uint256 minOne, uint256 minOther, address to, uint256 deadline
        ) external;
    }

    interface V3Factory {
        function getPool(address one, address other, uint24 fee) external view returns (address);
    }

    struct Position {
        address token0;
        address token1;
        uint24 fee;
        int24 lower;
        int24 upper;
        uint256 amount0;
        uint256 amount1;
        uint256 min0;
        uint256 min1;
        address recipient;
        uint256 deadline;
    }

    interface Positions {
        function createAndInitializePoolIfNecessary(address token0, address token1, uint24 fee, uint160 sqrtPrice) external payable;
        function mint(Position position) external payable;
    }
}
