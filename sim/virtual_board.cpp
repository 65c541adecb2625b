// Drives one Verilated design through the pins of its serial line, as a board's port would.
//
//   harness, commands on standard input: W count byte... | R count most_cycles | S cycles
//
// count is 32 bits, cycles are 64, little-endian. W sends bytes without gaps; R runs until that many bytes came, or
// most_cycles went by, and answers how many they are (32 bits), the cycle it is (64 bits) and the bytes; S runs.

#include "Vbridged_core.h"
#include "verilated.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <vector>

namespace {

template <typename T>
T take() {
    T value;
    if (std::fread(&value, sizeof value, 1, stdin) != 1) std::exit(2);
    return value;
}

class Board {
  public:
    Board() {
        design_.rx = 1;
        design_.rst = 1;
        for (int i = 0; i < 4; ++i) tick();
        design_.rst = 0;
        tick();
    }

    void send(uint8_t byte) {
        const uint32_t frame = (uint32_t{byte} | 0x100) << 1;  // start bit low, stop bit high
        for (int bit = 0; bit < 10; ++bit) {
            design_.rx = frame >> bit & 1;
            run(DIVISOR);
        }
    }

    void receive(uint32_t count, uint64_t most) {
        const uint64_t end = cycle_ + most;
        while (received_.size() < count && cycle_ < end) tick();
        const uint32_t given = received_.size() < count ? received_.size() : count;
        std::fwrite(&given, sizeof given, 1, stdout);
        std::fwrite(&cycle_, sizeof cycle_, 1, stdout);
        for (uint32_t i = 0; i < given; ++i) {
            std::fputc(received_.front(), stdout);
            received_.pop_front();
        }
        std::fflush(stdout);
    }

    void run(uint64_t cycles) {
        while (cycles--) tick();
    }

  private:
    void tick() {
        design_.clk = 0;
        design_.eval();
        listen();
        design_.clk = 1;
        design_.eval();
        ++cycle_;
    }

    void listen() {  // a bit is looked at in its middle
        if (left_ == 0) {
            if (design_.tx) return;
            left_ = 10;
            wait_ = DIVISOR / 2;
        }
        if (wait_--) return;
        wait_ = DIVISOR - 1;
        shift_ = shift_ >> 1 | (design_.tx ? 0x200 : 0);
        if (--left_ == 0) received_.push_back(shift_ >> 1 & 0xFF);
    }

    Vbridged_core design_;
    std::deque<uint8_t> received_;
    uint64_t cycle_ = 0;
    uint32_t left_ = 0, wait_ = 0, shift_ = 0;
};

}  // namespace

int main() {
    Board board;
    for (int command; (command = std::fgetc(stdin)) != EOF;) {
        if (command == 'W') {
            for (uint32_t count = take<uint32_t>(); count; --count) board.send(take<uint8_t>());
        } else if (command == 'R') {
            const uint32_t count = take<uint32_t>();
            board.receive(count, take<uint64_t>());
        } else if (command == 'S') {
            board.run(take<uint64_t>());
        } else {
            return 2;
        }
    }
    return 0;
}
