// Drives one Verilated core over its host bus: commands from a file, what happens into three files.
//
//   harness COMMANDS TRACE LAYERS RESULTS [WAVES]
//
// COMMANDS holds 32-bit words: WRITE address data | IMAGE count word... (pixels, four a word) | LIMIT cycles
// (of an image: a core that hangs ends the run).
// TRACE: image, cycle, payload words. LAYERS: image, cycle, counter words. RESULTS: image, sums, counter words.

#include "Vspikeloom_core.h"
#include "spikeloom.h"
#include "verilated.h"
#ifdef WAVES
#include "verilated_fst_c.h"
#endif

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

// Verilator's spelling of the port host__NAME
#define HOST(name) core_.host___05F##name

namespace {

constexpr uint32_t kWrite = 1, kImage = 2, kLimit = 3;

using Words = std::vector<uint32_t>;

template <typename Port>
void append(Words& words, const Port& port, size_t bits) {
    const size_t first = words.size(), count = (bits + 31) / 32;
    words.resize(first + count);
    std::memcpy(&words[first], &port, count * 4);
}

FILE* open_or_exit(const char* path, const char* mode) {
    FILE* file = std::fopen(path, mode);
    if (!file) {
        std::perror(path);
        std::exit(2);
    }
    return file;
}

void put(FILE* file, const Words& words) {
    if (std::fwrite(words.data(), 4, words.size(), file) != words.size()) {
        std::perror("cannot write the results");
        std::exit(2);
    }
}

void close_or_exit(FILE* file) {  // what is still in its buffer may find no space
    if (std::fclose(file)) {
        std::perror("cannot write the results");
        std::exit(2);
    }
}

class Harness {
  public:
    Harness(char** paths, const char* waves)
        : trace_(open_or_exit(paths[1], "wb")),
          layers_(open_or_exit(paths[2], "wb")),
          results_(open_or_exit(paths[3], "wb")) {
#ifdef WAVES
        if (waves) {
            Verilated::traceEverOn(true);
            core_.trace(&fst_, 99);
            fst_.open(waves);
            if (!fst_.isOpen()) {
                std::fprintf(stderr, "cannot write %s\n", waves);
                std::exit(2);
            }
        }
#else
        (void)waves;
#endif
        HOST(request) = 0;
        core_.rst = 1;
        for (int i = 0; i < 4; ++i) tick();
        core_.rst = 0;
        tick();
    }

    ~Harness() {
        core_.final();
#ifdef WAVES
        fst_.close();
#endif
        close_or_exit(trace_);
        close_or_exit(layers_);
        close_or_exit(results_);
    }

    uint32_t access(uint32_t address, bool write, uint32_t data) {
        HOST(request) = 1;
        HOST(write) = write;
        HOST(address) = address;
        HOST(write_data) = data;
        const uint64_t start = cycle_;
        do {
            tick();
            if (cycle_ - start > most_cycles) {
                std::fprintf(stderr, "the core does not acknowledge address %#x\n", address);
                std::exit(3);
            }
        } while (!HOST(acknowledge));
        const uint32_t read = HOST(read_data);
        tick();
        HOST(request) = 0;
        return read;
    }

    uint32_t most_cycles = ~0u;

    void image(const Words& pixels) {
        access(SPIKELOOM_CONTROL, true, SPIKELOOM_CONTROL_START);
        for (uint32_t word : pixels) access(SPIKELOOM_PIXELS, true, word);
        const uint64_t start = cycle_;
        while (core_.busy) {
            tick();
            if (cycle_ - start > most_cycles) {
                std::fprintf(stderr, "the core is still busy after %u cycles\n", most_cycles);
                std::exit(3);
            }
        }
        tick();
        Words record{image_};
        for (uint32_t i = 0; i < CLASSES; ++i) record.push_back(access(SPIKELOOM_RESULTS + i, false, 0));
        append(record, core_.trace_counts, COUNTER_BITS);
        put(results_, record);
        std::fflush(results_);  // progress is read from its size
        ++image_;
    }

  private:
    void tick() {
        core_.clk = 0;
        core_.eval();
        dump(0);
        if (core_.trace_valid) {
            Words record{image_, static_cast<uint32_t>(cycle_)};
            append(record, core_.trace_word, TRACE_BITS);
            put(trace_, record);
        }
        if (core_.layer_end) {
            Words record{image_, static_cast<uint32_t>(cycle_)};
            append(record, core_.trace_counts, COUNTER_BITS);
            put(layers_, record);
        }
        core_.clk = 1;
        core_.eval();
        dump(1);
        ++cycle_;
    }

    void dump(int half) {
#ifdef WAVES
        if (fst_.isOpen()) fst_.dump(cycle_ * 2 + half);
#else
        (void)half;
#endif
    }

    Vspikeloom_core core_;
#ifdef WAVES
    VerilatedFstC fst_;
#endif
    FILE *trace_, *layers_, *results_;
    uint64_t cycle_ = 0;
    uint32_t image_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) {
        std::fprintf(stderr, "usage: %s COMMANDS TRACE LAYERS RESULTS [WAVES]\n", argv[0]);
        return 2;
    }
    FILE* file = open_or_exit(argv[1], "rb");
    Harness harness(argv + 1, argc > 5 ? argv[5] : nullptr);
    uint32_t head[2];
    while (std::fread(head, 4, 2, file) == 2) {
        if (head[0] == kWrite) {
            uint32_t data;
            if (std::fread(&data, 4, 1, file) != 1) return 2;
            harness.access(head[1], true, data);
        } else if (head[0] == kLimit) {
            harness.most_cycles = head[1];
        } else if (head[0] == kImage) {
            Words pixels(head[1]);
            if (std::fread(pixels.data(), 4, pixels.size(), file) != pixels.size()) return 2;
            harness.image(pixels);
        } else {
            std::fprintf(stderr, "unknown command %u\n", head[0]);
            return 2;
        }
    }
    std::fclose(file);
    return 0;
}
